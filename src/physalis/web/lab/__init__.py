"""lab: the lab's pages, served (``app``) and as plain files (``publishing``)."""
