"""The loop: how a workload is warmed up, held still, called and measured, on any device."""
