"""Run a real Postgres server in a folder of its own, set up as Supabase sets up a project."""
