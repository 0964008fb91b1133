"""bases: in what a graph's nodes are read: a transcoder's features for each layer, those of one cross-layer transcoder,
or the model's own neurons, which need no training and are what the others must beat.
"""
