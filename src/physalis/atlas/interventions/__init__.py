"""interventions: what a feature does, found by editing the model or its text: a feature taken out (``ablation``),
tokens left out (``occlusion``), weighted by how often it fires so (``strata``).
"""
