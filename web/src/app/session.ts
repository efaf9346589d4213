/** Who is signed in. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { call } from "../api/client";

export interface Session {
  user: { username: string; is_admin: boolean; scopes: string[]; by_key: boolean } | null;
  anonymous: boolean;
  registration: boolean;
  version: string;
  flower_url: string;
}

export const sessionQuery = {
  queryKey: ["session"],
  queryFn: () => call<Session>("GET", "/session"),
  staleTime: 60_000,
};

export function useSession(): Session | undefined {
  return useQuery(sessionQuery).data;
}

/** Signs in, and forgets all that another person saw. */
export function useSignIn() {
  const client = useQueryClient();
  return async (body: { username?: string; password?: string; key?: string; link?: string }) => {
    const session = await call<Session>("POST", "/session", body);
    client.clear();
    client.setQueryData(["session"], session);
    return session;
  };
}

export function useSignOut() {
  return async () => {
    await call("DELETE", "/session");
    location.assign(document.baseURI);
  };
}
