"""Stand in for Supabase's Management API and its command line."""
