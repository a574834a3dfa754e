import { Command, Option } from 'commander'
import { type AliasSummary, CanaryShare } from '../shared/api/deployments.ts'
import { AdapterDigest, AliasName, TenantId } from '../shared/ids.ts'
import { addEdgeOption, adminOf } from './access/admin-access.ts'
import { answerFormOption, readAnswerForm } from './answer-form.ts'
import { parsedBy, wholeNumber } from './command/argument.ts'
import { note, printJson, printTable } from './command/output.ts'
import { warnIfLeftOut } from './publish.ts'
import { formatMoment } from './time.ts'

interface Options {
  readonly ifVersion?: number
  readonly json?: true
}

export function aliasCommand(): Command {
  const alias = new Command('alias').description("a tenant's names for adapters, and what they name")

  addEdgeOption(alias.command('list'))
    .description("list a tenant's aliases")
    .argument('<tenant>', 'whose aliases', parsedBy(TenantId))
    .option('--json', 'as JSON')
    .action(async (tenant: TenantId, options: Options, command: Command) => {
      const { aliases } = await (await adminOf(command)).showTenant(tenant)
      show(aliases, options)
    })

  named(alias.command('history'))
    .description('what an alias named, newest first')
    .option('--limit <n>', 'how many versions', wholeNumber, 50)
    .option('--json', 'as JSON')
    .action(
      async (tenant: TenantId, name: AliasName, options: Options & { limit: number }, command: Command) => {
        const { data } = await (await adminOf(command))
          .deployments(tenant)
          .history(name, { limit: options.limit })
        if (options.json) return printJson(data)
        printTable(
          ['version', 'when', 'what', 'adapter', 'by', 'canary'],
          data.map(({ action, at, by, canary, digest, version }) => [
            String(version),
            formatMoment(at),
            action,
            digest ?? 'none',
            by,
            canary === null ? '' : `${canary.percent} % by ${canary.by}: ${canary.digest}`,
          ]),
        )
      },
    )

  changing(alias.command('set'))
    .description('let an alias name an adapter: a deployment')
    .argument('<digest>', 'SHA-256 of a published adapter', parsedBy(AdapterDigest))
    .addOption(answerFormOption())
    .action(
      async (
        tenant: TenantId,
        name: AliasName,
        digest: AdapterDigest,
        options: Options & { responseFormat?: string },
        command: Command,
      ) => {
        const responseFormat = await readAnswerForm(options.responseFormat, { name })
        const admin = await adminOf(command)
        const { ifVersion } = options
        const alias = await admin.deployments(tenant).setAlias(name, { digest, ifVersion, responseFormat })
        changed(tenant, alias, options)
        await warnIfLeftOut(admin, { tenant, alias: name })
      },
    )

  changing(alias.command('rollback'))
    .description('let an alias name what it named before; ends a canary')
    .option('--to <version>', 'a version of its history', wholeNumber)
    .action(
      async (tenant: TenantId, name: AliasName, options: Options & { to?: number }, command: Command) => {
        const deployments = (await adminOf(command)).deployments(tenant)
        const { ifVersion, to: version } = options
        changed(tenant, await deployments.rollBack(name, { version, ifVersion }), options)
      },
    )

  changing(alias.command('canary'))
    .description('send a share of the requests to another adapter; end with alias promote or alias abort')
    .argument('<digest>', 'SHA-256 of a published adapter', parsedBy(AdapterDigest))
    .option('--percent <n>', 'its share, 1 to 99', wholeNumber, 10)
    .addOption(
      new Option('--by <what>', 'a share of the requests, or of the users (the same ones each time)')
        .choices(CanaryShare.options)
        .default('request'),
    )
    .action(
      async (
        tenant: TenantId,
        name: AliasName,
        digest: AdapterDigest,
        options: Options & { percent: number; by: CanaryShare },
        command: Command,
      ) => {
        const { by, ifVersion, percent } = options
        const deployments = (await adminOf(command)).deployments(tenant)
        changed(tenant, await deployments.setCanary(name, { digest, percent, by, ifVersion }), options)
      },
    )

  changing(alias.command('shadow'))
    .description(
      'let a late adapter answer a share of the requests too, which no client sees; end with alias unshadow',
    )
    .argument('<digest>', 'SHA-256 of a published adapter with late rows', parsedBy(AdapterDigest))
    .option('--percent <n>', 'its share of the requests, 1 to 100', wholeNumber, 10)
    .action(
      async (
        tenant: TenantId,
        name: AliasName,
        digest: AdapterDigest,
        options: Options & { percent: number },
        command: Command,
      ) => {
        const { ifVersion, percent } = options
        const deployments = (await adminOf(command)).deployments(tenant)
        changed(tenant, await deployments.setShadow(name, { digest, percent, ifVersion }), options)
      },
    )

  changing(alias.command('unshadow'))
    .description('end a shadow; what it answered stays')
    .action(async (tenant: TenantId, name: AliasName, options: Options, command: Command) => {
      const deployments = (await adminOf(command)).deployments(tenant)
      changed(tenant, await deployments.endShadow(name, options), options)
    })

  named(alias.command('shadow-answers'))
    .description('what shadows of an alias answered, beside what clients got; newest first')
    .option('--limit <n>', 'how many', wholeNumber, 20)
    .option('--delete', 'delete all of them')
    .option('--json', 'as JSON, with log-probabilities')
    .action(
      async (
        tenant: TenantId,
        name: AliasName,
        options: { limit: number; delete?: true; json?: true },
        command: Command,
      ) => {
        const deployments = (await adminOf(command)).deployments(tenant)
        if (options.delete) {
          const { deleted } = await deployments.deleteShadowAnswers(name)
          return note(`${tenant}: ${deleted} answers of shadows of ${name} are deleted`)
        }
        const { data } = await deployments.shadowAnswers(name, { limit: options.limit })
        if (options.json) return printJson(data)
        const inLine = (text: string) => text.replaceAll(/\s+/g, ' ').slice(0, 60)
        printTable(
          ['when', 'shadow', 'client got', 'shadow said', 'mean logprob'],
          data.map(({ answer, at, shadow }) => [
            formatMoment(at),
            shadow.adapter.slice(0, 12),
            inLine(answer.text),
            shadow.error ?? inLine(shadow.text),
            shadow.tokens.length === 0
              ? '-'
              : (shadow.tokens.reduce((sum, { logprob }) => sum + logprob, 0) / shadow.tokens.length).toFixed(
                  3,
                ),
          ]),
          `answer of a shadow of ${name}`,
        )
      },
    )

  for (const [end, description] of [
    ['promote', 'let the canary take everything'],
    ['abort', 'end the canary'],
  ] as const)
    changing(alias.command(end))
      .description(description)
      .action(async (tenant: TenantId, name: AliasName, options: Options, command: Command) => {
        const deployments = (await adminOf(command)).deployments(tenant)
        changed(tenant, await deployments[end](name, options), options)
      })

  expecting(named(alias.command('delete')))
    .description('remove an alias; the adapter and the history stay')
    .action(async (tenant: TenantId, name: AliasName, options: Options, command: Command) => {
      await (await adminOf(command)).deployments(tenant).deleteAlias(name, options)
      note(`${tenant}: ${name} is deleted`)
    })

  return alias
}

const named = (command: Command): Command =>
  addEdgeOption(command)
    .argument('<tenant>', 'whose alias', parsedBy(TenantId))
    .argument('<alias>', 'the model name that clients ask for', parsedBy(AliasName))

const expecting = (command: Command): Command =>
  command.option('--if-version <n>', 'only if the alias has this version (0: does not exist)', wholeNumber)

const changing = (command: Command): Command => expecting(named(command)).option('--json', 'as JSON')

function changed(tenant: TenantId, alias: AliasSummary, options: Options): void {
  note(`${tenant}: ${alias.alias} is ${alias.digest} (version ${alias.version})`)
  if (options.json || alias.canary !== null || alias.shadow !== undefined) show([alias], options)
}

function show(aliases: readonly AliasSummary[], { json }: Options): void {
  if (json) printJson(aliases)
  else
    printTable(
      ['alias', 'adapter', 'version', 'form', 'canary', 'shadow'],
      aliases.map(({ alias, canary, digest, response_format: form, shadow, version }) => [
        alias,
        digest,
        String(version),
        form === null ? '' : (form.name ?? form.type),
        canary === null ? '' : `${canary.percent} % by ${canary.by}: ${canary.digest}`,
        shadow === undefined ? '' : `${shadow.percent} %: ${shadow.digest}`,
      ]),
    )
}
