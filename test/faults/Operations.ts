/** The three operations that lead to a usable token, in this process and at a server: so that a case is written once. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { CredentialId, UserId } from "../../src/Credential.ts"
import type { CredentialsManager, RenewalError } from "../../src/CredentialsManager.ts"
import type { Answer, Client, ConnectionError } from "../servers/Client.ts"
import { type Operation, operations } from "./Faults.ts"

/** What came of an operation: the generation that it answered with, and the access token where it answers one. */
export interface Usable {
  readonly generation: number
  readonly accessToken?: string | undefined
}

interface Options {
  readonly wait?: "0 seconds" | "1 second" | "5 seconds" | "2 minutes" | "10 minutes"
}

type Manager = CredentialsManager["Type"]

const used = (secret: { readonly generation: number; readonly accessToken?: Redacted.Redacted }): Usable => ({
  generation: secret.generation,
  accessToken: secret.accessToken && Redacted.value(secret.accessToken)
})

/** By the library. What is acquired is given back at once. */
export const perform = (
  operation: Operation,
  manager: Manager,
  user: UserId,
  id: CredentialId,
  options: Options = {}
): Effect.Effect<Usable, RenewalError> => {
  switch (operation) {
    case "get":
      return Effect.map(manager.get(user, id, options), used)
    case "refresh":
      return Effect.map(manager.refresh(user, id, options), ({ generation }) => ({ generation }))
    case "acquire":
      return Effect.scoped(Effect.map(manager.acquire(user, id, options), ({ secret }) => used(secret)))
  }
}

const answered = <A>(answer: Answer<A>, usable: (body: A) => Usable): Answer<Usable> =>
  answer.ok ? { ...answer, body: usable(answer.body) } : answer

const usedThere = ({ accessToken, generation }: Usable): Usable => ({ accessToken, generation })

/**
 * At a server: `GET …/secret`, `POST …/refresh`, `POST …/leases`. What is acquired is given back at once, there or at
 * `givesBackAt`.
 */
export const request = (
  operation: Operation,
  client: Client,
  user: string,
  id: string,
  options: { readonly generation?: number; readonly waitSeconds?: number; readonly givesBackAt?: Client } = {}
): Effect.Effect<Answer<Usable>, ConnectionError> => {
  const { generation = 1, givesBackAt = client, waitSeconds = 30 } = options
  switch (operation) {
    case "get":
      return Effect.map(client.secret(user, id, { waitSeconds }), (answer) => answered(answer, usedThere))
    case "refresh":
      return Effect.map(client.refresh(user, id, { ifGeneration: generation }, { waitSeconds }), (answer) =>
        answered(answer, ({ generation: renewed }) => ({ generation: renewed }))
      )
    case "acquire":
      return client.acquire(user, id, { waitSeconds }).pipe(
        Effect.tap((answer) =>
          answer.ok ? Effect.ignore(givesBackAt.releaseLease(answer.body.leaseId)) : Effect.void
        ),
        Effect.map((answer) => answered(answer, ({ secret }) => usedThere(secret)))
      )
  }
}

/** Does this for each operation at the same time: to be done on a credential of its own. */
export const atOnce = <A, E, R>(run: (operation: Operation) => Effect.Effect<A, E, R>) =>
  Effect.all(operations.map(run), { concurrency: "unbounded" })
