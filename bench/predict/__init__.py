"""Seconds foreseen: from data sheets before any job, from fits of what a run measured first."""
