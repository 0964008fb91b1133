"""shown: what the command line prints: a record as JSON, or as something that a person can judge at a glance."""
