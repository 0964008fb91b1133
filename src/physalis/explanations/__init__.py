"""explanations: what a feature fires on, said by a rule: a small program that reads text and predicts the code."""
