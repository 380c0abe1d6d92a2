// The types of client.js, which uploads photos to a Spillway service. How it is used: docs/front-end.md.

/** A problem document (RFC 9457). */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  guard?: string;
  retry_after_ms?: number;
  [member: string]: unknown;
}

export interface Variant {
  url: string;
  width: number;
  height: number;
  bytes: number;
  format: string;
  sha256: string;
  provisional?: boolean;
}

/** The document of an image. The service adds members in time. */
export interface Job {
  id: string;
  status: "queued" | "processing" | "done" | "failed" | "cancelled";
  /** In the document of an upload alone: whoever has it can remove the image. */
  delete_token?: string;
  url: string | null;
  variants: Record<string, Variant>;
  deferred: string[];
  position?: number;
  estimated_wait_ms?: number;
  created_at: string;
  finished_at?: string | null;
  completed_at?: string | null;
  expires_at?: string | null;
  reference?: string | null;
  source?: { format: string; width: number; height: number; bytes: number; sha256: string; name: string | null } | null;
  problem?: Problem | null;
  links: { self: string; events: string };
}

/** Why a photo was not taken this time, and when it is sent again by itself. */
export interface Refusal extends Omit<Problem, "status" | "guard"> {
  /** The status of the answer; 0 if there was none. */
  status: number;
  /** Who refused: `rate`, `share`, `queue`, `draining`, `breaker`, `disk` … */
  guard?: string;
  /** When it is sent again, in ms since the epoch. */
  until: number;
  /** What stands for the photo meanwhile, if the service gave a preview in place of the refusal. */
  preview?: { url: string; width: number; height: number; kind: "exif" | "placeholder" };
}

/** A ticket that the service did not accept, and what it said. */
export interface RefusedTicket {
  ticket: string | null | undefined;
  problem: Problem | null;
}

/** A ticket, or what gets one; it is asked before each attempt, and again after a ticket was refused. */
export type Ticket = string | ((refused?: RefusedTicket) => string | null | Promise<string | null>);

export interface UploadOptions {
  /** The share of the file that is sent, 0 to 1. Each attempt begins at 0. */
  onProgress?: (share: number) => void;
  /** Is told each refusal after which the photo is sent again. */
  onRefused?: (refusal: Refusal) => void;
  /** Ends the upload. `AbortSignal.timeout(ms)` is how long to try; without a signal there is no end to it. */
  signal?: AbortSignal;
  /** Names of the variants to be made; all, if there are none. */
  variants?: readonly string[];
  /** What this page calls the upload: given back in the document and in webhooks. */
  reference?: string;
  /** Where the service needs tickets. */
  ticket?: Ticket;
  /** The name of the file, if not its own. */
  name?: string;
  /** The Idempotency-Key; a random one, if none is given. */
  key?: string;
  /** Whether a preview is wanted in place of a refusal by a full queue (in `Refusal.preview`). */
  lenient?: boolean;
  /** Whether the browser keeps the file until it is sent, so that it goes on after a reload: see `unsent`. */
  keep?: boolean;
}

/** An upload of an earlier visit: `upload(file, { ...options, onProgress })` goes on with it, and keeps its turn. */
export interface Unsent {
  file: File | Blob;
  options: UploadOptions & { key: string; name: string };
}

/**
 * What becomes of an upload: the detail of the event `change`. In the states `token`, `refused` and `degraded` it goes on by
 * itself at `until` (ms since the epoch).
 */
export interface Change {
  key: string;
  name: string;
  state?: "waiting" | "token" | "sending" | "refused" | "degraded" | "accepted" | "failed" | "cancelled";
  progress?: number;
  until?: number;
  refusal?: Refusal | null;
  job?: Job;
  problem?: Problem;
  /** An attempt was answered with this status. */
  answered?: number;
  /** Whether the browser could keep the file. */
  kept?: boolean;
}

/** The service will not take an upload, or could not make the image. */
export declare class Refused extends Error {
  /** The status of the answer; 0 if the file can no longer be read. */
  readonly status: number;
  readonly problem: Problem;
}

/** Sends uploads to one service, two at a time, within the client's token bucket. */
export declare class Uploader extends EventTarget {
  /** `base` is the address of the service; by default where the module comes from. */
  constructor(options?: { base?: string | URL; ticket?: Ticket });
  readonly base: string;
  ticket?: Ticket;
  readonly paused: boolean;
  /** Begins nothing new while paused. Dispatches `pause`. */
  pause(paused?: boolean): void;
  /** Resolves when the service has accepted the photo; rejects with `Refused`, or the signal's reason. */
  upload(file: Blob, options?: UploadOptions): Promise<Job>;
  /** Resolves when an image is done; rejects with `Refused` if it failed or is gone. */
  wait(image: Pick<Job, "id"> & Partial<Job>, options?: { signal?: AbortSignal }): Promise<Job>;
  /** Removes an image, by the document that `upload` gave. */
  remove(image: Pick<Job, "id" | "delete_token">): Promise<void>;
  /** What earlier visits of this page left unsent, of those with `keep`, the oldest first. */
  unsent(): Promise<Unsent[]>;
  addEventListener(type: "change", listener: (event: CustomEvent<Change>) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

/** The one that the functions below and `<spillway-upload>` use. Uploads of one page share it, and so the bucket. */
export declare const uploader: Uploader;
export declare function upload(file: Blob, options?: UploadOptions): Promise<Job>;
export declare function wait(image: Pick<Job, "id"> & Partial<Job>, options?: { signal?: AbortSignal }): Promise<Job>;
export declare function remove(image: Pick<Job, "id" | "delete_token">): Promise<void>;
export declare function unsent(): Promise<Unsent[]>;

/**
 * `<spillway-upload name multiple required disabled accept variants reference ticket keep aria-label>`, a field of a form: under
 * its name the form sends the id of each image that was accepted. Dispatches `change` when these do, and for each file the
 * states of `Change` (but `sending`) as events.
 */
export interface SpillwayUpload extends HTMLElement {
  uploader: Uploader;
  ticket?: Ticket;
  readonly form: HTMLFormElement | null;
  readonly name: string;
  /** The ids, with a comma between them. */
  readonly value: string;
  readonly images: Job[];
  /** Uploads files as if they had been chosen. */
  add(files: Iterable<File>): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "spillway-upload": SpillwayUpload;
  }
}
