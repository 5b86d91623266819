"""The stand-in of Supabase's Management API and of its command line."""
