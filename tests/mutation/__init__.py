"""Do the tests notice? ``make mutants`` changes signs, masks, denominators, detaches and constants of a room's sources
one at a time and counts the changes that no test fails on.

operators: what is changed. reach: which tests could notice. equivalent: changes that change nothing, with the reason.
__main__: runs the tests on each.
"""
