import { Command, Option } from 'commander'
import { Scopes } from '../shared/api/scopes.ts'
import { KeyId, TenantId } from '../shared/ids.ts'
import { addEdgeOption, adminOf } from './access/admin-access.ts'
import { parsedBy } from './command/argument.ts'
import { note, print, printJson, printTable } from './command/output.ts'
import { formatMoment, parseMoment } from './time.ts'

const scopesOption = () =>
  new Option(
    '--scopes <names>',
    'what it may do: inference, deploy, train, read-only, with commas between them; all is everything',
  ).argParser((text): Scopes => (text === 'all' ? null : parsedBy(Scopes)(text.split(','))))

export const formatScopes = (scopes: Scopes): string => scopes?.join(', ') ?? 'all'

export function keyCommand(): Command {
  const key = new Command('key').description("a tenant's API keys")

  addEdgeOption(key.command('create'))
    .description('create a key and print it, once: the edge keeps only its hash')
    .argument('<tenant>', 'whose key', parsedBy(TenantId))
    .option('--name <name>', 'what it is for')
    .addOption(
      new Option('--expires <when>', 'when it stops working: 30d, 12h, a date').argParser(parseMoment),
    )
    .addOption(scopesOption())
    .option('--json', 'as JSON')
    .action(
      async (
        tenant: TenantId,
        options: { name?: string; expires?: number; scopes?: Scopes; json?: true },
        command: Command,
      ) => {
        const admin = await adminOf(command)
        const created = await admin.createKey(tenant, {
          name: options.name,
          expiresAt: options.expires,
          scopes: options.scopes,
        })
        note(`${created.id}: keep the key below, it is shown only now`)
        if (options.json) printJson(created)
        else print(created.key)
      },
    )

  addEdgeOption(key.command('list'))
    .description("list a tenant's keys, never the secrets")
    .argument('<tenant>', 'whose keys', parsedBy(TenantId))
    .option('--json', 'as JSON')
    .action(async (tenant: TenantId, options: { json?: true }, command: Command) => {
      const { keys } = await (await adminOf(command)).showTenant(tenant)
      if (options.json) return printJson(keys)
      printTable(
        ['key', 'name', 'created', 'expires', 'scopes'],
        keys.map(({ createdAt, expiresAt, id, name, scopes }) => [
          id,
          name,
          formatMoment(createdAt),
          formatMoment(expiresAt),
          formatScopes(scopes),
        ]),
      )
    })

  const keyArguments = (command: Command) =>
    addEdgeOption(command)
      .argument('<tenant>', 'whose key', parsedBy(TenantId))
      .argument('<key-id>', 'key_… as quartet key list shows it, not the key itself', parsedBy(KeyId))

  keyArguments(key.command('expire'))
    .description('let a key stop working at a moment, in place of the one it had')
    .addOption(
      new Option('--at <when>', 'now, 30d, 12h, a date; never lets it live on')
        .makeOptionMandatory()
        .argParser((text) => (text === 'never' ? text : parseMoment(text))),
    )
    .action(async (tenant: TenantId, id: KeyId, { at }: { at: number | 'never' }, command: Command) => {
      const admin = await adminOf(command)
      const { expiresAt } = await admin.changeKey(tenant, id, { expiresAt: at === 'never' ? null : at })
      note(`${id} expires: ${formatMoment(expiresAt)}`)
    })

  keyArguments(key.command('scope'))
    .description('change what a key may do, within 5 seconds everywhere')
    .addOption(scopesOption().makeOptionMandatory())
    .action(async (tenant: TenantId, id: KeyId, { scopes }: { scopes: Scopes }, command: Command) => {
      const changed = await (await adminOf(command)).changeKey(tenant, id, { scopes })
      note(`${id} may do: ${formatScopes(changed.scopes)}`)
    })

  keyArguments(key.command('revoke'))
    .description('end a key; it stops working within 5 seconds everywhere')
    .action(async (tenant: TenantId, id: KeyId, _options, command: Command) => {
      await (await adminOf(command)).revokeKey(tenant, id)
      note(`${id} is revoked`)
    })

  return key
}
