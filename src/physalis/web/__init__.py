"""The pages of an atlas and the same records as JSON, served from one folder."""

from physalis.web.atlas.app import create_app
from physalis.web.server.serving import serve

__all__ = ["create_app", "serve"]
