"""Selection at test time as a job: candidates, a rule, its K-scaling curve. Nothing is trained."""
