"""The events role: brings events to their targets, polls event sources, fires schedules."""
