"""Jobs: work that goes on while its caller does something else, recorded where every process can see it."""

from __future__ import annotations

from tiffin.jobs.base import IngestionJob, Job
from tiffin.jobs.record import JobStatus, JobType
from tiffin.jobs.retrieval import RetrievalJob

__all__ = ["IngestionJob", "Job", "JobStatus", "JobType", "RetrievalJob"]
