"""The same models in FuxiCTR and in RecBole, with our weights copied over: for cross_check.py."""
