import type { CanarySide } from '../../shared/api/deployments.ts'
import { sideOf, stackedTwice } from '../../shared/api/model-names.ts'
import { stackSeparator } from '../../shared/api/parameters.ts'
import type { TenantPolicy } from '../../shared/api/policy.ts'
import type { AnswerForm } from '../../shared/api/structure.ts'
import { QuartetError } from '../../shared/errors.ts'
import { AliasName, BackboneSlug } from '../../shared/ids.ts'
import { maxStacked } from '../../shared/wire.ts'
import { differentTails } from '../store/late-tails.ts'
import {
  type AliasRecord,
  type AliasTarget,
  type BackboneRecord,
  standsInWords,
  type TenantRecord,
} from '../store/records.ts'
import { findBackbone, type Reader, readBackbone, reloadTenant } from './read.ts'

/** The meaning of a request's `model` to the tenant that asks. */
export interface ResolvedModel {
  readonly record: BackboneRecord
  /** The adapters whose rows stand in its prompts, in order; none for the untuned model. */
  readonly adapters: readonly AliasTarget[]
  /** The forms that its aliases give their answers where a request asks for none. */
  readonly forms: readonly AnswerForm[]
  /** Set where the request is one that the alias's canary may have taken. */
  readonly trial?: { readonly version: number; readonly side: CanarySide } | undefined
  /**
   * The alias's shadow, where it is another adapter than the one that answers and can use that one's prefill. A request
   * for a side of a canary has none.
   */
  readonly shadow?:
    | {
        readonly alias: AliasName
        readonly version: number
        readonly target: AliasTarget
        readonly percent: number
      }
    | undefined
  /** Milliseconds since 1970. */
  readonly createdAt: number
}

/** Prompt rows that a model's adapters put in the context. */
export const promptRowsOf = ({ adapters }: Pick<ResolvedModel, 'adapters'>): number =>
  adapters.reduce((sum, { rows }) => sum + rows, 0)

/** The number of prompt tokens behind late rows; undefined where rows are not late, or where there are none. */
export const tailOf = ({ adapters: [first] }: Pick<ResolvedModel, 'adapters'>): number | undefined =>
  first?.tail

/** Whether its rows stand in front of a prompt's newest turn. */
export const hasRowsAtTurn = ({ adapters: [first] }: Pick<ResolvedModel, 'adapters'>): boolean =>
  first?.placement === 'turn'

/** The adapter that is meant by an alias. */
type Choose = (alias: AliasName, record: AliasRecord) => AliasTarget

interface Lookup {
  readonly tenant: TenantRecord
  readonly reader: Reader
  readonly choose: Choose
  /** The request's field that names the model. */
  readonly param?: string
  /** Others answer on the same prefill: a canary of another kind, which cannot, takes no share of such requests. */
  readonly sharesPrefill?: boolean
}

/**
 * Looks `model` up: one name, or the aliases of a stack with + between them, each by itself. Throws what `resolveOne`
 * throws, and `invalid_request` for aliases that cannot be stacked.
 */
export async function resolveModel(model: string, lookup: Lookup): Promise<ResolvedModel> {
  if (!model.includes(stackSeparator)) return resolveOne(model, lookup)
  const { param = 'model' } = lookup
  const refuse = (why: string): never => {
    throw new QuartetError('invalid_request', `${param}: ${JSON.stringify(model)}: ${why}`, { param })
  }
  const names = model.split(stackSeparator)
  if (names.length > maxStacked) refuse(`stacks ${names.length} adapters; at most ${maxStacked} are possible`)
  if (names.includes('')) refuse('has no name on one side of a +; name an alias there, or leave the + out')
  const twice = stackedTwice(names)
  if (twice !== undefined) refuse(`names ${JSON.stringify(twice)} twice; name it once`)
  const parts = await Promise.all(names.map((name) => resolveOne(name, { ...lookup, sharesPrefill: true })))
  const [first] = parts
  if (first === undefined) return refuse('names nothing')
  for (const [at, part] of parts.entries()) {
    if (part.adapters.length === 0) refuse(`${names[at]} is an untuned model; only aliases are stacked`)
    if (tailOf(part) === undefined)
      refuse(`${names[at]} has rows ${standsInWords(part.adapters[0] ?? {})}; ${onlyLate}`)
    if (part.record.backbone.digest !== first.record.backbone.digest)
      refuse(
        `${names[0]} is for the backbone ${first.record.backbone.slug} and ${names[at]} for ${part.record.backbone.slug}; stack adapters of one backbone`,
      )
  }
  const unlike = differentTails(parts.map(({ adapters }, at) => ({ name: names[at] ?? '', adapters })))
  if (unlike !== undefined) refuse(unlike)
  return {
    record: first.record,
    adapters: parts.flatMap(({ adapters }) => adapters),
    forms: parts.flatMap(({ forms }) => forms),
    createdAt: Math.max(...parts.map(({ createdAt }) => createdAt)),
  }
}

const onlyLate = 'only adapters with late rows (--placement late) are stacked'

/**
 * Looks `model` up among the backbones, whose names always mean the untuned model, and among the tenant's own aliases.
 * An alias, or a canary that is asked for, which this isolate does not know may be younger than its memory, so it is looked
 * up once more. Whatever else exists elsewhere is `model_not_found` in the same words; a model that the tenant's policy
 * leaves out is `model_not_allowed`.
 */
async function resolveOne(
  model: string,
  { choose, param = 'model', reader, sharesPrefill = false, tenant }: Lookup,
): Promise<ResolvedModel> {
  const { name, side } = sideOf(model)
  const asked: Asked = { model: name, side, choose, reader, sharesPrefill }
  const untuned = await findUntuned(asked, tenant)
  if (untuned !== undefined && side !== undefined)
    throw new QuartetError(
      'model_not_found',
      `the model ${JSON.stringify(model)} does not exist: ${name} is the untuned model, which has no sides; ask for ${name}`,
      { param },
    )
  let newest = tenant
  let found = untuned ?? (await findAlias(asked, tenant))
  if (found === undefined) {
    newest = (await reloadTenant(tenant.id, reader)) ?? tenant
    found = await findAlias(asked, newest)
  }
  if (found === undefined)
    throw new QuartetError(
      'model_not_found',
      side === 'canary' && aliasIn(newest, name) !== undefined
        ? `the alias ${name} has no canary now; ask for ${name}`
        : `the model ${JSON.stringify(model)} does not exist; GET /v1/models lists yours`,
      { param },
    )
  if (!isAllowed(name, newest.policy.aliases))
    throw new QuartetError(
      'model_not_allowed',
      `this tenant may not ask for the model ${JSON.stringify(model)}; GET /v1/models lists those it may`,
      { param },
    )
  return found
}

/** Whether a policy's `aliases` let a tenant ask for a model. */
export const isAllowed = (model: string, allowed: TenantPolicy['aliases']): boolean =>
  allowed === null || allowed.some((alias) => alias === model)

interface Asked {
  readonly model: string
  readonly side: CanarySide | undefined
  readonly sharesPrefill: boolean
  readonly choose: Choose
  readonly reader: Reader
}

async function findUntuned(
  { model, reader }: Asked,
  tenant: TenantRecord,
): Promise<ResolvedModel | undefined> {
  const slug = BackboneSlug.safeParse(model)
  const record = slug.success ? await findBackbone(slug.data, { reader, tenant: tenant.id }) : undefined
  return record && { record, adapters: [], forms: [], createdAt: record.createdAt }
}

async function findAlias(
  { choose, model, reader, sharesPrefill, side }: Asked,
  tenant: TenantRecord,
): Promise<ResolvedModel | undefined> {
  const found = aliasIn(tenant, model)
  if (found === undefined) return undefined
  const { alias, named } = found
  const { canary, shadow, version } = named
  if (side === 'canary' && canary === undefined) return undefined
  const isTrial = canary !== undefined && side === undefined && !(sharesPrefill && !isAlike(canary, named))
  const chosen = isTrial ? choose(alias, named) : named
  const target = side === 'canary' && canary !== undefined ? canary : chosen
  const record = await readBackbone(target.backbone, reader)
  const form = named.form === undefined ? undefined : tenant.forms[named.form]
  return (
    record && {
      record,
      adapters: [target],
      forms: form === undefined ? [] : [form],
      ...(isTrial ? { trial: { version, side: target === canary ? 'canary' : 'stable' } } : {}),
      ...(shadow !== undefined && side === undefined && canShadow(shadow, target)
        ? { shadow: { alias, version, target: shadow, percent: shadow.percent } }
        : {}),
      createdAt: named.updatedAt,
    }
  )
}

function aliasIn(
  { aliases }: TenantRecord,
  model: string,
): { readonly alias: AliasName; readonly named: AliasRecord } | undefined {
  const alias = AliasName.safeParse(model)
  const named = alias.success && Object.hasOwn(aliases, alias.data) ? aliases[alias.data] : undefined
  return alias.success && named !== undefined ? { alias: alias.data, named } : undefined
}

const canShadow = (shadow: AliasTarget, target: AliasTarget): boolean =>
  shadow.digest !== target.digest && isAlike(shadow, target)

/** Whether one stands on a prefill as the other does. */
const isAlike = (one: AliasTarget, other: AliasTarget): boolean =>
  one.tail === other.tail && one.backbone === other.backbone
