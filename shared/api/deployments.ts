import { z } from 'zod'
import { AdapterDigest, AliasName, BackboneSlug } from '../ids.ts'
import { Page, pageQuery } from './paging.ts'
import { AnswerForm, FormBrief } from './structure.ts'

/** A tenant's adapters and the aliases that deploy them. Times are milliseconds since 1970. */

export const maxAdaptersPerTenant = 10_000
export const maxAliasesPerTenant = 10_000
/** Versions of an alias that its history keeps. */
export const maxHistory = 1_000
/** Deleted aliases of a tenant whose histories are kept: those deleted last. */
export const maxPastAliases = 1_000

export const AdapterSummary = z.object({
  digest: AdapterDigest,
  backbone: BackboneSlug,
  kind: z.string(),
  /** Prompt rows (`l_sp`): context the adapter takes. */
  rows: z.int(),
  /** The number of prompt tokens behind late rows; absent where rows are not late. */
  tail: z.int().min(1).optional(),
  /** Whether its rows stand in front of a prompt's newest turn; absent where they stand elsewhere. */
  placement: z.literal('turn').optional(),
  bytes: z.int(),
  createdAt: z.int(),
})
export type AdapterSummary = z.infer<typeof AdapterSummary>

/** `GET /v1/adapters`. */
export const AdapterListQuery = z.strictObject(pageQuery({ usual: 100, most: 1_000 }))
export const AdapterList = Page(AdapterSummary)

/** `POST /v1/adapters`: the body is the file. */
export const PublishQuery = z.strictObject({
  /** The file's SHA-256, checked when given. */
  digest: AdapterDigest.optional(),
  /** Deploys the adapter under this alias as well. */
  alias: AliasName.optional(),
})
export const PublishResponse = AdapterSummary.extend({
  /** The alias of the request and its new version, if the request names an alias. */
  alias: z.object({ alias: AliasName, version: z.int() }).nullable(),
})
export type PublishResponse = z.infer<typeof PublishResponse>

/** Whom a canary takes: a share of the requests, or of the users (the request's `user`, always the same ones). */
export const CanaryShare = z.enum(['request', 'user'])
export type CanaryShare = z.infer<typeof CanaryShare>

export const Canary = z.object({
  digest: AdapterDigest,
  /** Its share of 100 requests or users. */
  percent: z.int().min(1).max(99),
  by: CanaryShare,
})
export type Canary = z.infer<typeof Canary>

/** A second adapter that answers a share of an alias's requests too, for comparison: no client sees its answers. */
export const Shadow = z.object({
  digest: AdapterDigest,
  /** It answers so many of 100 requests. */
  percent: z.int().min(1).max(100),
})
export type Shadow = z.infer<typeof Shadow>

/** The two sides of an alias with a canary. A request may ask for one of them: `{alias}@canary`, `{alias}@stable`. */
export const CanarySide = z.enum(['stable', 'canary'])
export type CanarySide = z.infer<typeof CanarySide>

const counted = z.int().min(0)

/** The requests of one side, by the nodes' own counts. */
const SideCounts = z.object({
  requests: counted,
  /** Requests among them that failed for a reason that was not the client's. */
  errors: counted,
  prompt_tokens: counted,
  completion_tokens: counted,
  /** The mean; null without any. */
  first_token_ms: z.number().min(0).nullable(),
})

/** `GET …/aliases/{alias}/canary`: the canary, and what each side has answered since it began. */
export const CanaryReport = Canary.extend({
  /** The version of the alias with which this adapter became the canary, and when. */
  since: z.object({ version: z.int(), at: z.int() }),
  stable: SideCounts,
  canary: SideCounts,
})
export type CanaryReport = z.infer<typeof CanaryReport>

export const AliasSummary = z.object({
  alias: AliasName,
  digest: AdapterDigest,
  canary: Canary.nullable(),
  /** Absent where it has none. */
  shadow: Shadow.optional(),
  /** The form of its answers where a request asks for none. */
  response_format: FormBrief.nullable(),
  /** Counts every change of the alias. */
  version: z.int(),
  updatedAt: z.int(),
})
export type AliasSummary = z.infer<typeof AliasSummary>
/** `GET …/aliases/{alias}` tells the form as it was deployed. */
export const AliasDetail = AliasSummary.extend({ response_format: AnswerForm.nullable() })
export type AliasDetail = z.infer<typeof AliasDetail>
export const AliasListQuery = z.strictObject(pageQuery({ usual: 100, most: 1_000 }))
export const AliasList = Page(AliasSummary)

const DeploymentAction = z.enum([
  'deploy',
  'rollback',
  'canary',
  'promote',
  'abort',
  'shadow',
  'unshadow',
  'delete',
])

/** One change of an alias, with the adapter that it named from then on. */
export const Deployment = z.object({
  version: z.int(),
  action: DeploymentAction,
  /** null: the alias was deleted. */
  digest: AdapterDigest.nullable(),
  canary: Canary.nullable(),
  shadow: Shadow.optional(),
  response_format: FormBrief.nullable(),
  /** `admin`, or the id of the tenant's key. */
  by: z.string(),
  at: z.int(),
})
export type Deployment = z.infer<typeof Deployment>
/** `GET …/aliases/{alias}/history`: newest first. */
export const HistoryQuery = z.strictObject(pageQuery({ usual: 50, most: maxHistory }))
export const History = Page(Deployment)

/** The alias must have this version (0: must not exist), or the change is refused. */
const precondition = { if_version: z.int().min(0).optional() }

/** `PUT …/aliases/{alias}`. */
export const PutAliasRequest = z.strictObject({
  digest: AdapterDigest,
  response_format: AnswerForm.nullable().optional().meta({
    description:
      'The form of the alias’s answers where a request asks for none. null takes it away; without it the alias keeps the one it has.',
  }),
  ...precondition,
})
/** `DELETE …/aliases/{alias}`. */
export const DeleteAliasRequest = z.strictObject(precondition)
/** `POST …/aliases/{alias}/rollback`: to the version before, unless told. */
export const RollbackRequest = z.strictObject({ version: z.int().min(1).optional(), ...precondition })
/** `PUT …/aliases/{alias}/canary`. */
export const PutCanaryRequest = z.strictObject({
  digest: AdapterDigest,
  percent: z.int().min(1).max(99),
  by: CanaryShare.default('request'),
  ...precondition,
})
/** `POST …/aliases/{alias}/promote` and `DELETE …/aliases/{alias}/canary`. */
export const CanaryEndRequest = z.strictObject(precondition)
/** `PUT …/aliases/{alias}/shadow`. */
export const PutShadowRequest = z.strictObject({
  digest: AdapterDigest,
  percent: z.int().min(1).max(100),
  ...precondition,
})
/** `DELETE …/aliases/{alias}/shadow`. */
export const ShadowEndRequest = z.strictObject(precondition)
