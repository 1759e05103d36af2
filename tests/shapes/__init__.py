"""Twelve hard families as compositions of at most 30 lines on toy tensors: if one needs a special case, the types are
wrong."""
