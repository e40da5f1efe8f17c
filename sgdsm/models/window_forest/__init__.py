"""Local regressions and forests in moving windows (LIU et al.).

Needs scikit-learn, the extra `classical`.
"""
