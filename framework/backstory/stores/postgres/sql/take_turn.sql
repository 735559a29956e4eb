-- What is read in the turn is planned for the values at hand, as for readers.
SELECT set_config('plan_cache_mode', 'force_custom_plan', TRUE), {schema}.take_turn();
