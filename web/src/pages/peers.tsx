/** Peers, on the page of backends: this platform's own peer, and the platforms that it knows. */
import { useQuery } from "@tanstack/react-query";
import { Network, RefreshCw } from "lucide-react";
import { api, data, type Schemas } from "../api/client";
import { count, plural } from "../lib/format";
import { Badge, Button, CopyButton, Empty, ErrorNote, Facts, Loading, Section } from "../ui/basics";
import { LiveCharts } from "./live-charts";

type Overview = Schemas["PeersOut"];
type Peer = Schemas["PeerOut"];

const LOOK_MS = 5_000;

export function Peers() {
  const features = useQuery({
    queryKey: ["features"],
    queryFn: async () => (await data(api.GET("/status"))).features,
  }).data;
  const isOn = Boolean(features?.p2p);
  const peers = useQuery({
    queryKey: ["peers"],
    queryFn: () => data(api.GET("/v1/peers")),
    refetchInterval: LOOK_MS,
    enabled: isOn,
  });
  if (!features) return null;
  const look = (
    <Button small onClick={() => peers.refetch()} busy={peers.isFetching}>
      <RefreshCw className="size-3.5" aria-hidden /> Look again
    </Button>
  );
  return (
    <Section
      title="Peers"
      hint="Platforms that run each other's predictions, over libp2p."
      actions={isOn && look}
    >
      {!isOn && <Off />}
      <ErrorNote error={peers.error} retry={() => peers.refetch()} />
      {isOn && peers.isPending && <Loading rows={3} />}
      {peers.data && <Known overview={peers.data} at={peers.dataUpdatedAt / 1000} />}
    </Section>
  );
}

function Off() {
  return (
    <Empty icon={<Network className="size-5" />} title="Peers are off here">
      With <code className="font-mono">ENABLE_P2P=true</code>, and a{" "}
      <code className="font-mono">P2P_SHARED_KEY</code> or a list of{" "}
      <code className="font-mono">P2P_ALLOWED_PEERS</code>, this platform and others run each other's models.
    </Empty>
  );
}

function Known({ overview, at }: { overview: Overview; at: number }) {
  const peers = overview.results ?? [];
  if (overview.error) return <ErrorNote error={overview.error} />;
  return (
    <div className="space-y-6">
      <Own overview={overview} />
      {peers.length ? (
        <ul className="space-y-6">
          {peers.map((peer) => (
            <li key={peer.id} className="border-t pt-5">
              <PeerView peer={peer} at={at} />
            </li>
          ))}
        </ul>
      ) : (
        <Empty icon={<Network className="size-5" />} title="No peer yet">
          Give another platform one of the addresses above as its{" "}
          <code className="font-mono">P2P_BOOTSTRAP</code>; or turn on{" "}
          <code className="font-mono">P2P_MDNS</code> on both, in one local network.
        </Empty>
      )}
    </div>
  );
}

function Own({ overview }: { overview: Overview }) {
  const offers = overview.offers ?? [];
  const addresses = overview.addresses ?? [];
  const work = overview.limit
    ? `${count(overview.running)} of ${count(overview.limit)}`
    : "none: it only asks";
  const rows: [string, React.ReactNode][] = [
    ["This platform", overview.name || "without a name"],
    ["Id", <Copied key="id" text={overview.id ?? ""} what="id" />],
    [
      "Addresses",
      <div key="addresses">
        {addresses.map((address) => (
          <Copied key={address} text={address} what="address" />
        ))}
      </div>,
    ],
    ["Predictions of peers", work],
    ["Offers", offers.length ? plural(offers.length, "model") : "nothing"],
  ];
  return <Facts rows={rows} />;
}

function Copied({ text, what }: { text: string; what: string }) {
  return (
    <span className="flex items-center gap-1">
      <code className="wrap min-w-0 font-mono text-[0.85rem]">{text}</code>
      <CopyButton text={text} name={`Copy the ${what}`} />
    </span>
  );
}

function PeerView({ peer, at }: { peer: Peer; at: number }) {
  const isThere = peer.state === "reachable";
  return (
    <article aria-label={peer.name || peer.id}>
      <h3 className="flex flex-wrap items-center gap-2 font-semibold">
        <span className="wrap">{peer.name || "without a name"}</span>
        <Badge>peer</Badge>
        <Badge tone={isThere ? "green" : "red"}>{peer.state}</Badge>
      </h3>
      <p className="hint wrap mt-0.5 font-mono">{peer.id}</p>
      {!isThere && peer.last_failure && (
        <p className="wrap mt-2 text-[0.9rem] text-danger">It {peer.last_failure}.</p>
      )}
      <div className="mt-4 grid items-start gap-5 lg:grid-cols-[20rem_minmax(0,1fr)]">
        <Facts rows={factsOf(peer)} />
        <LiveCharts
          sample={{
            at,
            requests: peer.calls,
            errors: peer.failures,
            inFlight: peer.in_flight,
            waiting: peer.running,
          }}
          waiting="there, of all peers"
        />
      </div>
      {peer.models.length > 0 && (
        <details className="mt-4">
          <summary className="font-medium text-muted">
            It offers {plural(peer.models.length, "model")}
          </summary>
          <ul className="mt-2 divide-y">
            {peer.models.map((model) => (
              <li key={model.name} className="flex flex-wrap items-center gap-2 py-2">
                <code className="wrap font-mono text-[0.9rem]">{model.name}</code>
                <Badge>{model.task}</Badge>
                {model.streams && <Badge>streams</Badge>}
              </li>
            ))}
          </ul>
        </details>
      )}
    </article>
  );
}

function factsOf(peer: Peer): [string, string][] {
  const silent = peer.silent_seconds;
  const share = peer.calls ? ` (${((peer.failures / peer.calls) * 100).toFixed(1)} %)` : "";
  return [
    [
      "Last seen",
      silent === null
        ? "not since its last failure"
        : silent < 5
          ? "now"
          : `${count(Math.round(silent))} s ago`,
    ],
    ["In flight", count(peer.in_flight)],
    [
      "Runs for its peers",
      peer.limit ? `${count(peer.running)} of ${count(peer.limit)}` : "nothing: it only asks",
    ],
    ["Calls", count(peer.calls)],
    ["Failed calls", `${count(peer.failures)}${share}`],
    ["Last failure", peer.last_failure || "none"],
    ["Addresses", peer.addresses.length ? peer.addresses.map(placeOf).join(", ") : "none that is known"],
  ];
}

/** An address without the id, which stands above it. */
const placeOf = (address: string): string => address.replace(/\/p2p\/.*$/, "");
