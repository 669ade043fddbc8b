"""What the machine decides: number formats, processes, compiled code, graphs. Results change by rounding only."""
