-- A marketplace that was created here before consent was asked for gets its column; others bring their own, or none.
DO $consent$
BEGIN
    IF EXISTS (SELECT FROM litgo.own_marketplace) AND to_regclass('public.profiles') IS NOT NULL THEN
        ALTER TABLE public.profiles ADD COLUMN IF NOT EXISTS ai_consent boolean;
    END IF;
END $consent$;
