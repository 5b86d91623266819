-- What the roles of the API may do. Since 2026 Supabase gives them nothing on new tables: without these lines the runner
-- and the web app, which ask as service_role, are refused with 42501.

grant select, insert, update, delete on all tables in schema public to service_role;
grant usage, select on all sequences in schema public to service_role;

-- What a signed-in user's own rows are is said by the policies; here only which tables may be asked for at all.
grant select, insert, update, delete on
  public.skills, public.skill_drafts, public.skill_versions, public.user_facts, public.agent_conversations,
  public.agent_messages, public.agent_commands, public.deployments, public.exchange_credentials,
  public.hyperliquid_master_wallets
  to authenticated;
grant select on
  public.sim_runs, public.agent_state, public.agent_logs, public.decision_snapshots, public.hyperliquid_agents,
  public.pending_hyperliquid_agents, public.mainnet_orders, public.trade_history, public.reflection_notes,
  public.bars, public.funding_rates, public.news_items, public.market_events
  to authenticated;
