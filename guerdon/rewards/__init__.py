"""Whatever turns samples into scores, and the algebra that composes them."""
