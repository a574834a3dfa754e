import { z } from 'zod'
import { CreateKeyResponse, type PutBackboneRequest, TenantList, TenantSummary } from '../shared/api/admin.ts'
import { isErrorCode, QuartetError } from '../shared/errors.ts'
import type { AdapterDigest, AliasName, KeyId, TenantId } from '../shared/ids.ts'
import { CliFailure } from './failure.ts'

/** Where an edge is and the key that opens its admin API. */
export interface AdminAccess {
  readonly edge: string
  readonly adminKey: string
}

interface Call<T> {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  readonly path: string
  readonly json?: unknown
  readonly bytes?: Uint8Array<ArrayBuffer>
  readonly answer: z.ZodType<T>
}

const anything = z.unknown()

export type AdminClient = ReturnType<typeof adminClient>

/** The edge's admin API (`/admin/v1`), typed; every answer is checked. Refusals keep the edge's code and words. */
export function adminClient(access: AdminAccess) {
  return {
    putBackbone: (body: PutBackboneRequest) =>
      send(access, { method: 'PUT', path: `backbones/${body.backbone.slug}`, json: body, answer: anything }),

    /** Throws `conflict` when the tenant exists. */
    createTenant: (id: TenantId) =>
      send(access, { method: 'POST', path: 'tenants', json: { id }, answer: anything }),

    listTenants: async () =>
      (await send(access, { method: 'GET', path: 'tenants', answer: TenantList })).tenants,

    showTenant: (id: TenantId) =>
      send(access, { method: 'GET', path: `tenants/${id}`, answer: TenantSummary }),

    createKey: (tenant: TenantId, name = '') =>
      send(access, {
        method: 'POST',
        path: `tenants/${tenant}/keys`,
        json: { name },
        answer: CreateKeyResponse,
      }),

    revokeKey: (tenant: TenantId, key: KeyId) =>
      send(access, { method: 'DELETE', path: `tenants/${tenant}/keys/${key}`, answer: anything }),

    putAdapter: (
      tenant: TenantId,
      { digest, bytes }: { digest: AdapterDigest; bytes: Uint8Array<ArrayBuffer> },
    ) =>
      send(access, { method: 'PUT', path: `tenants/${tenant}/adapters/${digest}`, bytes, answer: anything }),

    setAlias: (tenant: TenantId, { alias, digest }: { alias: AliasName; digest: AdapterDigest }) =>
      send(access, {
        method: 'PUT',
        path: `tenants/${tenant}/aliases/${alias}`,
        json: { digest },
        answer: anything,
      }),
  }
}

async function send<T>({ edge, adminKey }: AdminAccess, call: Call<T>): Promise<T> {
  const { method, path, json, bytes, answer } = call
  const body = bytes ?? (json === undefined ? undefined : JSON.stringify(json))
  const response = await fetch(`${edge}/admin/v1/${path}`, {
    method,
    headers: {
      authorization: `Bearer ${adminKey}`,
      'content-type': bytes === undefined ? 'application/json' : 'application/octet-stream',
    },
    ...(body === undefined ? {} : { body }),
  }).catch((cause: unknown) => {
    throw new CliFailure(`the edge at ${edge} cannot be reached`, {
      remedy: 'start it (quartet start), or name another with --edge or QUARTET_EDGE_URL',
      cause,
    })
  })
  const content = parseJson(await response.text())
  if (!response.ok) throw refusal(response.status, content)
  const parsed = answer.safeParse(content)
  if (parsed.success) return parsed.data
  throw new CliFailure(`the edge answered ${method} ${path} in a way this command does not know`, {
    remedy: 'use a command line and an edge of the same version',
    cause: parsed.error,
  })
}

const ErrorAnswer = z.object({
  error: z.object({ message: z.string(), code: z.string().nullish(), param: z.string().nullish() }),
})

function refusal(status: number, content: unknown): Error {
  const parsed = ErrorAnswer.safeParse(content)
  if (!parsed.success)
    return new CliFailure(`the edge answered ${status}`, { remedy: 'see its log for the reason' })
  const { message, code, param } = parsed.data.error
  return code != null && isErrorCode(code)
    ? new QuartetError(code, message, { param: param ?? undefined })
    : new CliFailure(`the edge answered ${status}: ${message}`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
