"""Run a real Postgres server in the rehearsal's folder, and set it up as Supabase sets up a project."""
