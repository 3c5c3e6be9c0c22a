"""What every process needs to be one of ours: settings, errors, deadlines, channels, a server that starts and drains, metrics, logs."""
