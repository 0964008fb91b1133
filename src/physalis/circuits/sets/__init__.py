"""sets: transcoders of all layers of a model: trained in one pass, kept in one folder, and what they cost the model."""
