/** What befalls one of three servers while it renews: one kill, or one stop, befalls all operations at once. */
import * as Effect from "effect/Effect"
import type { Answer, ConnectionError } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as Proxy from "../servers/Proxy.ts"
import type * as ScriptedProvider from "../servers/ScriptedProvider.ts"
import { atOnce } from "./Operations.ts"

export const user = "ada"

type Provider = ScriptedProvider.ScriptedProvider["Type"]

/** A server that reaches Postgres by a way of its own, on which answers can be lost. */
export const victimOf = Effect.fnUntraced(function* (cluster: Cluster.Cluster) {
  const toPostgres = yield* Proxy.listen({ host: "127.0.0.1", port: cluster.postgres.port })
  const url = new URL(cluster.env["DATABASE_URL"] ?? "")
  url.port = String(toPostgres.port)
  return { toPostgres, victim: yield* cluster.start({ env: { DATABASE_URL: url.href } }) }
})

/** A credential for each operation, whose access token expired a minute ago. */
export const three = (cluster: Cluster.Cluster, provider: Provider = cluster.provider, name = "fake") =>
  atOnce((operation) => {
    const { accessToken, refreshToken } = provider.issue()
    return Effect.map(cluster.create(user, { provider: name, accessToken, refreshToken }), ({ id }) => ({
      operation,
      id,
      refreshToken
    }))
  })

export type Three = Effect.Effect.Success<ReturnType<typeof three>>

export const spent = (provider: Provider, credentials: Three) =>
  provider.awaitLedger((ledger) =>
    credentials.every(({ refreshToken }) =>
      ledger.some((entry) => entry.refreshToken === refreshToken && entry.outcome === "rotated")
    )
  )

export const requestsFor = (provider: Provider, refreshToken: string) =>
  provider.ledger.filter((entry) => entry.refreshToken === refreshToken).map(({ outcome }) => outcome)

export const openAttempts = (cluster: Cluster.Cluster) =>
  Effect.map(cluster.attempts, (all) => all.filter(({ outcome }) => outcome === null))

export const untilOpen = (cluster: Cluster.Cluster, count: number) =>
  Cluster.eventually(
    Effect.filterOrFail(
      openAttempts(cluster),
      (open) => open.length === count,
      () => "not yet"
    )
  )

/** Asked again while the database takes too long to answer, as it does on a busy machine. */
export const patiently = <A>(call: Effect.Effect<Answer<A>, ConnectionError>) =>
  Cluster.eventually(
    Effect.filterOrFail(
      call,
      ({ status }) => status !== 503,
      () => "not yet"
    ),
    "30 seconds"
  )
