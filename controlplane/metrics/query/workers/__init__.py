"""Ad-hoc queries in processes of their own: shared fairly, started when needed, ended when nobody waits."""
