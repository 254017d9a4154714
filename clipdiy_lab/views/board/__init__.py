"""The ablation board without widgets: what is chosen, how it is run, what is shown."""
