"""Pictures that commands and experiments draw: the canvas, plots, machines beside networks."""
