import { openAsBlob } from 'node:fs'
import { access as accessFile, constants, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { type Command, Option } from 'commander'
import { z } from 'zod'
import { FileObject } from '../../shared/api/files.ts'
import { Job, JobEvent } from '../../shared/api/fine-tuning.ts'
import { edgeOf } from '../access/admin-access.ts'
import { CliFailure } from '../command/failure.ts'
import { note, print, printJson } from '../command/output.ts'
import { type EdgeAccess, send } from '../edge/edge-call.ts'

/** The options that a remote job accepts. The trainer sets all other training options itself. */
const RemoteOptions = z.object({
  data: z.string().min(1),
  dev: z.string().min(1).optional(),
  model: z.string().min(1).optional(),
  backbone: z.string(),
  suffix: z.string().optional(),
  epochs: z.number().optional(),
  batch: z.number().optional(),
  placement: z.string().optional(),
  seed: z.number().optional(),
  deployIfWorse: z.boolean().default(false),
  json: z.boolean().default(false),
})
type RemoteOptions = z.infer<typeof RemoteOptions>
const taken: ReadonlySet<string> = new Set([...Object.keys(RemoteOptions.shape), 'remote', 'edge'])

export function addRemoteOptions(command: Command): Command {
  return command
    .option('--remote', "train on the edge's trainers, as the tenant whose key QUARTET_API_KEY is")
    .addOption(new Option('--model <name>', 'with --remote: a backbone, or an alias to go on from'))
    .addOption(new Option('--suffix <text>', 'with --remote: stands in the name of the result'))
    .addOption(new Option('--deploy-if-worse', 'with --remote: point the alias even then'))
}

/** Throws where an option speaks of a job: a training on this machine would leave it out, and nobody would know. */
export function refuseRemoteOptions(command: Command): void {
  const [name] = ['model', 'suffix', 'deployIfWorse', 'edge'].filter(
    (option) => command.getOptionValueSource(option) === 'cli',
  )
  if (name !== undefined)
    throw new CliFailure(`--${dashed(name)} is of a training on the edge's trainers`, {
      remedy: `add --remote, or leave --${dashed(name)} out`,
    })
}

/** Uploads the examples, creates a job, shows its events as they come, and prints the model that it made. */
export async function trainRemotely(command: Command): Promise<void> {
  const others = Object.keys(command.opts()).filter(
    (name) => command.getOptionValueSource(name) === 'cli' && !taken.has(name),
  )
  if (others.length > 0)
    throw new CliFailure(`--remote does not take ${others.map((name) => `--${dashed(name)}`).join(', ')}`, {
      remedy:
        'it takes --data, --dev, --model, --suffix, --epochs, --batch, --placement, --seed and --deploy-if-worse',
    })
  const options = RemoteOptions.parse(command.opts())
  const key = process.env.QUARTET_API_KEY
  if (key === undefined)
    throw new CliFailure('nothing says who trains', { remedy: "set QUARTET_API_KEY to a tenant's key" })
  const access: EdgeAccess = { edge: await edgeOf(command), base: '/v1', key }
  const seed = command.getOptionValueSource('seed') === 'cli' ? options.seed : undefined
  const { estimate, id } = await createJob(access, { ...options, seed })
  note(`${id}: it goes on when this command ends`)
  if (estimate !== null)
    note(
      `expected: ${estimate.steps} steps, ${estimate.trained_tokens} tokens, about ${estimate.seconds} s once a trainer has it`,
    )
  await showEvents(access, id)
  const job = await send(access, { method: 'GET', path: `fine_tuning/jobs/${id}`, answer: Job })
  if (options.json) printJson(job)
  if (job.status !== 'succeeded')
    throw new CliFailure(`the job is ${job.status}${job.error === null ? '' : `: ${job.error.message}`}`)
  if (!options.json) print(job.fine_tuned_model ?? job.adapter ?? '')
}

/** A job on the examples. Where it is refused, none of its files stays to fill the tenant's room. */
async function createJob(access: EdgeAccess, options: RemoteOptions): Promise<Job> {
  const data = await opened(options.data)
  const dev = options.dev === undefined ? undefined : await opened(options.dev)
  const uploaded: string[] = []
  try {
    const training_file = await upload(access, data)
    uploaded.push(training_file)
    const validation_file = dev === undefined ? undefined : await upload(access, dev)
    if (validation_file !== undefined) uploaded.push(validation_file)
    return await send(access, {
      method: 'POST',
      path: 'fine_tuning/jobs',
      json: {
        model: options.model ?? options.backbone,
        training_file,
        validation_file,
        suffix: options.suffix,
        seed: options.seed,
        deploy_if_worse: options.deployIfWorse,
        method: {
          type: 'supervised',
          supervised: {
            hyperparameters: {
              n_epochs: options.epochs,
              batch_size: options.batch,
              placement: options.placement,
            },
          },
        },
      },
      answer: Job,
    })
  } catch (error) {
    // The reason of the refusal is what counts; the edge refuses to delete a file that a job reads after all.
    for (const file of uploaded)
      await send(access, { method: 'DELETE', path: `files/${file}`, answer: z.unknown() }).catch(() => {})
    throw error
  }
}

const dashed = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

interface Examples {
  readonly name: string
  readonly content: Blob
}

/** Opens a file of examples, which is read as it is sent. */
async function opened(name: string): Promise<Examples> {
  try {
    // The blob of a file that cannot be read may fail only where it is sent.
    await accessFile(name, constants.R_OK)
    if ((await stat(name)).isDirectory())
      throw new CliFailure(`${name} is a folder`, { remedy: 'name a file in it' })
    return { name, content: await openAsBlob(name) }
  } catch (cause) {
    if (cause instanceof CliFailure) throw cause
    throw new CliFailure(`${name} cannot be read`, { cause })
  }
}

/** Sends a file of examples as it is read. */
async function upload({ base, edge, key }: EdgeAccess, { content, name }: Examples): Promise<string> {
  const form = new FormData()
  form.append('purpose', 'fine-tune')
  form.append('file', content, basename(name))
  const response = await fetch(`${edge}${base}/files`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}` },
    body: form,
  }).catch((cause: unknown) => {
    throw new CliFailure(`the edge at ${edge} cannot be reached`, { cause })
  })
  const answered: unknown = await response.json().catch(() => undefined)
  const refused = z.object({ error: z.object({ message: z.string() }) }).safeParse(answered)
  if (!response.ok)
    throw new CliFailure(
      `${name}: ${refused.success ? refused.data.error.message : `the edge answered ${response.status}`}`,
    )
  const { id, lines } = FileObject.parse(answered)
  note(`${id}: ${lines} examples of ${name}`)
  return id
}

const repeatMs = 2_000
const mostBreaks = 30

/** Shows a job's events until it has ended; a stream that breaks is read again. */
async function showEvents({ base, edge, key }: EdgeAccess, job: string): Promise<void> {
  const seen = new Set<string>()
  for (let breaks = 0; breaks < mostBreaks; breaks++) {
    try {
      const response = await fetch(`${edge}${base}/fine_tuning/jobs/${job}/events?stream=true`, {
        headers: { authorization: `Bearer ${key}` },
      })
      if (response.status >= 400 && response.status < 500)
        throw new CliFailure(`the edge answered ${response.status}`)
      let text = ''
      for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        const events = (text + chunk).split('\n\n')
        text = events.pop() ?? ''
        for (const event of events) {
          const data = event.slice('data: '.length)
          if (data === '[DONE]') return
          const { id, message } = JobEvent.parse(JSON.parse(data))
          if (!seen.has(id)) note(message)
          seen.add(id)
        }
      }
    } catch (thrown) {
      if (thrown instanceof CliFailure) throw thrown
    }
    await new Promise((resolve) => setTimeout(resolve, repeatMs))
  }
  throw new CliFailure('the events of the job cannot be read', { remedy: `look at ${job} in the console` })
}
