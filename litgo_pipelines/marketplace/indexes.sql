-- What our statements look up in the marketplace's tables, in the views' names; indexes.py puts the mapping's in their
-- place and makes each one that nothing stands for yet, one by one and beside the marketplace's work.
CREATE INDEX litgo_lawyers_placed ON lawyers USING gist (litgo.placed({geo_latlon}));
CREATE INDEX litgo_lawyers_area_keys ON lawyers USING gin (litgo.area_keys({tags_expertise}, {primary_area}));
CREATE INDEX litgo_lawyers_oab ON lawyers USING btree (litgo.oab_key({oab_number}));
CREATE INDEX litgo_cases_created ON cases USING btree ({created_at});
CREATE INDEX litgo_cases_client ON cases USING btree ({client_id}, {created_at});
CREATE INDEX litgo_cases_pending ON cases USING btree ({created_at}, {id}) WHERE {status} = 'pending_assignment';
CREATE INDEX litgo_offers_sent ON offers USING btree ({sent_at}, {lawyer_id});
CREATE INDEX litgo_offers_of_lawyer ON offers USING btree ({lawyer_id}, {sent_at});
CREATE INDEX litgo_offers_interested ON offers USING btree ({responded_at}) WHERE {status} = 'interested';
CREATE INDEX litgo_offers_pending ON offers USING btree ({expires_at}) WHERE {status} = 'pending';
CREATE INDEX litgo_contracts_open ON contracts USING btree ({lawyer_id}) WHERE {status} IN ('pending-signature', 'active');
CREATE INDEX litgo_contracts_pending ON contracts USING btree ({created_at}) WHERE {status} = 'pending-signature';
