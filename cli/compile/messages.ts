import { z } from 'zod'

/** A conversation that stands in front of every request: a system message, examples. */
export const Messages = z
  .array(z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string().min(1) }))
  .min(1, 'at least one message is needed')
export type Messages = z.infer<typeof Messages>

/** The input of a compilation: plain text, or a conversation that the chat template turns into text. */
export type AdapterSource =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'messages'; readonly messages: Messages }
