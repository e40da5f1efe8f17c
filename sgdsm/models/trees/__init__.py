"""XGBoost and random forest behind the same trainer as the networks.

The only package that needs xgboost.
"""
