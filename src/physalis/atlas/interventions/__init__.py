"""interventions: what a feature does, found by editing the model or its text.

``causes`` is the way in: ``ablation`` takes a feature out, ``occlusion`` leaves tokens out, at a dictionary's place in
the model (``attached``), and ``strata`` weighs what is found by how often a feature fires so. docs/feature-pages.md.
"""

__all__ = ["ablation", "attached", "causes", "occlusion", "strata"]
