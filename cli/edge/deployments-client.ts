import { z } from 'zod'
import {
  AdapterList,
  AliasSummary,
  type CanaryShare,
  History,
  PublishResponse,
} from '../../shared/api/deployments.ts'
import { DeletedShadowAnswers, ShadowAnswerList } from '../../shared/api/shadows.ts'
import type { AnswerForm } from '../../shared/api/structure.ts'
import type { AdapterDigest, AliasName } from '../../shared/ids.ts'
import { type EdgeAccess, send } from './edge-call.ts'

const anything = z.unknown()

interface Precondition {
  /** The version that the alias must have. */
  readonly ifVersion?: number | undefined
}

/** One tenant's adapters and aliases: under `/v1` with a key of its own, or as an operator. */
export function deploymentsClient(access: EdgeAccess) {
  const alias = (name: AliasName) => `aliases/${name}`
  return {
    publish: (file: {
      readonly digest: AdapterDigest
      readonly bytes: Uint8Array<ArrayBuffer>
      readonly alias: AliasName | undefined
    }) =>
      send(access, {
        method: 'POST',
        path: 'adapters',
        query: { digest: file.digest, alias: file.alias },
        bytes: file.bytes,
        answer: PublishResponse,
      }),

    listAdapters: (page: { readonly after?: string | undefined; readonly limit?: number | undefined }) =>
      send(access, { method: 'GET', path: 'adapters', query: page, answer: AdapterList }),

    deleteAdapter: (digest: AdapterDigest) =>
      send(access, { method: 'DELETE', path: `adapters/${digest}`, answer: anything }),

    setAlias: (
      name: AliasName,
      {
        digest,
        ifVersion,
        responseFormat,
      }: Precondition & {
        readonly digest: AdapterDigest
        /** The form of its answers; null takes it away, absent keeps it. */
        readonly responseFormat?: AnswerForm | null | undefined
      },
    ) =>
      send(access, {
        method: 'PUT',
        path: alias(name),
        json: { digest, response_format: responseFormat, if_version: ifVersion },
        answer: AliasSummary,
      }),

    deleteAlias: (name: AliasName, { ifVersion }: Precondition) =>
      send(access, {
        method: 'DELETE',
        path: alias(name),
        json: { if_version: ifVersion },
        answer: anything,
      }),

    history: (
      name: AliasName,
      page: { readonly after?: string | undefined; readonly limit?: number | undefined },
    ) => send(access, { method: 'GET', path: `${alias(name)}/history`, query: page, answer: History }),

    rollBack: (
      name: AliasName,
      { ifVersion, version }: Precondition & { readonly version?: number | undefined },
    ) =>
      send(access, {
        method: 'POST',
        path: `${alias(name)}/rollback`,
        json: { version, if_version: ifVersion },
        answer: AliasSummary,
      }),

    setCanary: (
      name: AliasName,
      {
        ifVersion,
        ...canary
      }: Precondition & {
        readonly digest: AdapterDigest
        readonly percent: number
        readonly by: CanaryShare
      },
    ) =>
      send(access, {
        method: 'PUT',
        path: `${alias(name)}/canary`,
        json: { ...canary, if_version: ifVersion },
        answer: AliasSummary,
      }),

    setShadow: (
      name: AliasName,
      { ifVersion, ...shadow }: Precondition & { readonly digest: AdapterDigest; readonly percent: number },
    ) =>
      send(access, {
        method: 'PUT',
        path: `${alias(name)}/shadow`,
        json: { ...shadow, if_version: ifVersion },
        answer: AliasSummary,
      }),

    endShadow: (name: AliasName, { ifVersion }: Precondition) =>
      send(access, {
        method: 'DELETE',
        path: `${alias(name)}/shadow`,
        json: { if_version: ifVersion },
        answer: AliasSummary,
      }),

    shadowAnswers: (
      name: AliasName,
      page: { readonly after?: string | undefined; readonly limit?: number | undefined },
    ) =>
      send(access, {
        method: 'GET',
        path: `${alias(name)}/shadow/answers`,
        query: page,
        answer: ShadowAnswerList,
      }),

    deleteShadowAnswers: (name: AliasName) =>
      send(access, { method: 'DELETE', path: `${alias(name)}/shadow/answers`, answer: DeletedShadowAnswers }),

    promote: (name: AliasName, { ifVersion }: Precondition) =>
      send(access, {
        method: 'POST',
        path: `${alias(name)}/promote`,
        json: { if_version: ifVersion },
        answer: AliasSummary,
      }),

    abort: (name: AliasName, { ifVersion }: Precondition) =>
      send(access, {
        method: 'DELETE',
        path: `${alias(name)}/canary`,
        json: { if_version: ifVersion },
        answer: AliasSummary,
      }),
  }
}
