"""Many CTs, one after another on every core: ``ctreasoner batch``.

sources (what there is) -> pipeline (Ray Data over workers) -> units (a folder for each CT) -> table (Parquet) -> overview (HTML).
"""
