SELECT {schema}.take_turn();
