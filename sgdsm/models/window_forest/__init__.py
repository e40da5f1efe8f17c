"""Local regressions and forests in moving windows (Liu et al., HESS 27, 577, 2023: LIU in comments).

The literal and the comparison models need scikit-learn, the extra `classical`. May import what `models` may.
"""
