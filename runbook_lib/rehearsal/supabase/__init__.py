"""Stand in for Supabase's Management API and command line."""
