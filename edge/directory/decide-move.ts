import {
  type AliasSummary,
  type CanaryShare,
  maxAliasesPerTenant,
  maxHistory,
  type Shadow,
} from '../../shared/api/deployments.ts'
import type { AnswerForm } from '../../shared/api/structure.ts'
import type { AdapterDigest, AliasName } from '../../shared/ids.ts'
import { differentTails } from '../store/late-tails.ts'
import { standsInWords } from '../store/records.ts'
import type { AdapterTable } from './adapter-table.ts'
import { maxFormsLength } from './alias-forms.ts'
import type { AliasMove, AliasTable } from './alias-table.ts'
import { type Outcome, ok, refuse } from './outcome.ts'

/** A change that somebody wants of an alias. */
type Aim =
  | {
      readonly action: 'deploy'
      readonly digest: AdapterDigest
      /** The form of its answers; null takes it away, absent keeps it. */
      readonly form?: AnswerForm | null | undefined
    }
  /** Goes back to the version before, unless one is named. */
  | { readonly action: 'rollback'; readonly version: number | undefined }
  | {
      readonly action: 'canary'
      readonly digest: AdapterDigest
      readonly percent: number
      readonly share: CanaryShare
    }
  | { readonly action: 'shadow'; readonly digest: AdapterDigest; readonly percent: number }
  | { readonly action: 'promote' | 'abort' | 'unshadow' | 'delete' }

export interface MoveRequest {
  readonly alias: AliasName
  readonly aim: Aim
  /** `admin`, or a key's id. */
  readonly by: string
  /** When the tenant of the key that asks was created; absent of an operator. */
  readonly tenancy?: number | undefined
  /** The version the alias must have; 0: it must not exist. */
  readonly ifVersion: number | undefined
}

interface Tables {
  readonly aliases: AliasTable
  readonly adapters: AdapterTable
}

type Target = Outcome<Omit<NonNullable<AliasMove['to']>, 'shadow'> | null>

/** The change that fulfils a request; null when everything is so already. */
export function decideMove(
  { aim, alias, by, ifVersion }: MoveRequest,
  tables: Tables,
): Outcome<AliasMove | null> {
  const now = tables.aliases.find(alias)
  if (ifVersion !== undefined && ifVersion !== (now?.version ?? 0))
    return refuse(
      'conflict',
      now === undefined
        ? `the alias ${alias} does not exist, so it has no version ${ifVersion}`
        : `the alias ${alias} has version ${now.version}, not ${ifVersion}: it was changed; look at it and decide again`,
    )
  if (now === undefined && aim.action !== 'deploy') return noAlias(alias, tables)
  if (now === undefined && tables.aliases.list().length >= maxAliasesPerTenant)
    return refuse('conflict', `a tenant has at most ${maxAliasesPerTenant} aliases; delete some`)
  const target = targetOf(aim, { now, tables })
  if (!target.ok) return target
  const to = target.value && { ...target.value, shadow: shadowOf(target.value.digest, aim, { now, tables }) }
  const isSo =
    to !== null &&
    to.canary === null &&
    now?.canary === null &&
    to.digest === now.digest &&
    JSON.stringify(to.form) === JSON.stringify(formNow({ now, tables })) &&
    JSON.stringify(to.shadow) === JSON.stringify(now.shadow ?? null)
  return ok(isSo ? null : { action: aim.action, alias, by, to })
}

interface Situation {
  readonly now: AliasSummary | undefined
  readonly tables: Tables
}

function targetOf(aim: Aim, situation: Situation): Target {
  const { now, tables } = situation
  switch (aim.action) {
    case 'deploy': {
      if (!has(tables, aim.digest)) return noAdapter(aim.digest)
      const form = aim.form === undefined ? formNow(situation) : aim.form
      if (form !== null && !tables.aliases.forms.hasRoomFor(form)) return noRoomForForm()
      return ok({ digest: aim.digest, canary: null, form })
    }
    case 'rollback':
      return rollBack(aim.version, situation)
    case 'canary': {
      const { digest, percent, share } = aim
      if (now === undefined || digest === now.digest)
        return refuse('conflict', 'the alias names that adapter already; a canary needs another one')
      if (!has(tables, digest)) return noAdapter(digest)
      return ok({
        digest: now.digest,
        canary: { digest, percent, by: share },
        form: formNow(situation),
      })
    }
    case 'promote':
      return now?.canary == null
        ? noCanary()
        : ok({ digest: now.canary.digest, canary: null, form: formNow(situation) })
    case 'abort':
      return now?.canary == null
        ? noCanary()
        : ok({ digest: now.digest, canary: null, form: formNow(situation) })
    case 'shadow': {
      if (now === undefined || !has(tables, aim.digest)) return noAdapter(aim.digest)
      const refusal = shadowRefusal(aim.digest, { digest: now.digest, tables })
      return refusal === undefined
        ? ok({ digest: now.digest, canary: now.canary, form: formNow(situation) })
        : refuse('conflict', refusal)
    }
    case 'unshadow':
      return now?.shadow === undefined
        ? refuse('conflict', 'the alias has no shadow')
        : ok({ digest: now.digest, canary: now.canary, form: formNow(situation) })
    case 'delete':
      return ok(null)
  }
}

/** An alias keeps its shadow through every move that leaves them fit for each other. */
function shadowOf(digest: AdapterDigest, aim: Aim, { now, tables }: Situation): Shadow | null {
  if (aim.action === 'shadow') return { digest: aim.digest, percent: aim.percent }
  if (aim.action === 'unshadow' || now?.shadow === undefined) return null
  return shadowRefusal(now.shadow.digest, { digest, tables }) === undefined ? now.shadow : null
}

/** Why one adapter cannot be the shadow of another. */
function shadowRefusal(
  shadow: AdapterDigest,
  { digest, tables }: { readonly digest: AdapterDigest; readonly tables: Tables },
): string | undefined {
  const [own, other] = [tables.adapters.find(digest), tables.adapters.find(shadow)]
  if (shadow === digest) return 'the alias names that adapter already; a shadow needs another one'
  if (own === undefined || other === undefined) return 'the tenant lacks one of the two adapters'
  const notLate = [own, other].find(({ tail }) => tail === undefined)
  if (notLate !== undefined)
    return `the adapter ${notLate.digest} has rows ${standsInWords(notLate)}, so that the two cannot share all of a prefill; a shadow and its alias need late rows (--placement late)`
  if (own.backbone !== other.backbone)
    return `the alias is for the backbone ${own.backbone} and the shadow for ${other.backbone}; they need one`
  return differentTails([
    { name: 'the alias', adapters: [own] },
    { name: 'the shadow', adapters: [other] },
  ])
}

/** The form that the alias gives its answers. */
const formNow = ({ now, tables }: Situation): AnswerForm | null =>
  (now && tables.aliases.forms.ofVersion(now)?.form) ?? null

/**
 * Ends a canary as well: it alone, where the alias has named no other adapter before. The form of answers goes back with
 * the adapter.
 */
function rollBack(version: number | undefined, { now, tables }: Situation): Target {
  if (now === undefined) return refuse('not_found', 'there is no such alias')
  const past =
    version === undefined
      ? tables.aliases.previous(now.alias, now.digest)
      : tables.aliases.version(now.alias, version)
  if (version === undefined && past === undefined && now.canary !== null)
    return ok({ digest: now.digest, canary: null, form: formNow({ now, tables }) })
  if (past === undefined || past.digest === null)
    return refuse(
      'conflict',
      version === undefined
        ? `${now.alias} never named another adapter; there is nothing to roll back to`
        : `${now.alias} has no version ${version} that named an adapter; its history lists them`,
    )
  if (!has(tables, past.digest))
    return refuse(
      'conflict',
      `version ${past.version} of ${now.alias} named the adapter ${past.digest}, which was deleted; upload it again`,
    )
  const form = tables.aliases.forms.ofVersion({ alias: now.alias, version: past.version })?.form ?? null
  return ok({ digest: past.digest, canary: null, form })
}

/** A deleted alias still has its history, and its last adapter there. */
function noAlias(alias: AliasName, { aliases }: Tables) {
  const last = aliases.history(alias, { limit: maxHistory }).find(({ digest }) => digest !== null)
  return refuse(
    'not_found',
    last === undefined
      ? `this tenant has no alias ${alias}; GET …/aliases lists those there are`
      : `the alias ${alias} was deleted; to bring it back, deploy what it named last (version ${last.version}): quartet alias set ${alias} ${last.digest}, or PUT …/aliases/${alias} with that digest`,
  )
}

const has = ({ adapters }: Tables, digest: AdapterDigest) => adapters.find(digest) !== undefined

const noAdapter = (digest: AdapterDigest) =>
  refuse('not_found', `this tenant has no adapter ${digest}; upload it first`)

const noRoomForForm = () =>
  refuse(
    'conflict',
    `response_format: the forms of this tenant's aliases and their histories take ${maxFormsLength} characters already; use one of them, or delete aliases that nobody needs`,
  )

const noCanary = () => refuse('conflict', 'the alias has no canary; PUT …/canary begins one')
