-- What our statements look up in the marketplace's tables. On a large live database create them beforehand with
-- CREATE INDEX CONCURRENTLY under the same names; they are then found and left alone.
CREATE INDEX IF NOT EXISTS litgo_lawyers_placed ON public.lawyers USING gist (litgo.placed(geo_latlon));
CREATE INDEX IF NOT EXISTS litgo_lawyers_area_keys ON public.lawyers
    USING gin (litgo.area_keys(tags_expertise, primary_area));
CREATE INDEX IF NOT EXISTS litgo_lawyers_oab ON public.lawyers (litgo.oab_key(oab_number));
CREATE INDEX IF NOT EXISTS litgo_cases_created ON public.cases (created_at);
CREATE INDEX IF NOT EXISTS litgo_cases_client ON public.cases (client_id, created_at);
CREATE INDEX IF NOT EXISTS litgo_cases_pending ON public.cases (created_at, id) WHERE status = 'pending_assignment';
CREATE INDEX IF NOT EXISTS litgo_offers_sent ON public.offers (sent_at, lawyer_id);
CREATE INDEX IF NOT EXISTS litgo_offers_pending ON public.offers (expires_at) WHERE status = 'pending';
CREATE INDEX IF NOT EXISTS litgo_contracts_open ON public.contracts (lawyer_id)
    WHERE status IN ('pending-signature', 'active');
CREATE INDEX IF NOT EXISTS litgo_contracts_pending ON public.contracts (created_at) WHERE status = 'pending-signature';
