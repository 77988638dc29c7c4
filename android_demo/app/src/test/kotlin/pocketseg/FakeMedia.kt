package pocketseg

import android.content.Context
import android.media.Image
import android.media.MediaCodec
import android.media.MediaExtractor
import android.media.MediaFormat
import android.media.MediaMuxer
import android.net.Uri
import android.view.Surface
import org.robolectric.annotation.Implementation
import org.robolectric.annotation.Implements
import org.robolectric.shadow.api.Shadow
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer

// Codecs, files and muxers that keep to what Android's documentation promises of them, and fail a test that does not.

class Sample(val microseconds: Long, val bytes: ByteArray, val flags: Int = 0)

class Track(val format: MediaFormat, val samples: MutableList<Sample> = mutableListOf())

/** What the fakes read, and what was written with them. */
object Media {
    /** The tracks of the file that is read. A video sample's byte is its frame's brightness; the left column is black. */
    var tracks = emptyList<Track>()
    var written = mutableListOf<Track>()
    var open = 0
    var stopped = 0
    var queued = mutableListOf<Long>()
    var encoderFormat: MediaFormat? = null

    /** The number of the frame with which the encoder gives up. */
    var failsAt = Int.MAX_VALUE

    /** An encoder that never ends. */
    var endless = false

    /** What a decoder throws: at once, or with the first frame that it gives. */
    var refusal: RuntimeException? = null
    var decoderFails: RuntimeException? = null

    fun reset() {
        tracks = emptyList()
        written = mutableListOf()
        open = 0
        stopped = 0
        queued = mutableListOf()
        failsAt = Int.MAX_VALUE
        endless = false
        refusal = null
        decoderFails = null
    }
}

/** YUV 4:2:0 in [bytes], rows padded, chroma interleaved. */
class FakeImage(private val wide: Int, private val high: Int, bytes: ByteBuffer) : Image() {
    init {
        mIsImageValid = true
    }

    private val stride = (wide + 1) / 2 * 2 + 6
    private val luma = FakePlane(stride, 1, part(bytes, 0, stride * high))
    private val chroma = (0..1).map { FakePlane(stride, 2, part(bytes, stride * high + it, stride * ((high + 1) / 2) - 1)) }

    private fun part(bytes: ByteBuffer, from: Int, count: Int): ByteBuffer = bytes.duplicate().apply {
        position(from)
        limit(from + count)
    }.slice()

    override fun getFormat() = 0x23

    override fun getWidth() = wide

    override fun getHeight() = high

    override fun getTimestamp() = 0L

    override fun getTransform() = 0

    override fun getScalingMode() = 0

    override fun getPlanes(): Array<Plane> = arrayOf(luma, chroma[0], chroma[1])

    override fun close() = Unit

    fun brightness(x: Int, y: Int) = luma.buffer.get(y * stride + x)

    fun paint(level: Byte) {
        for (y in 0 until high) for (x in 0 until wide) luma.buffer.put(y * stride + x, if (x < wide / 2) 16 else level)
        for (plane in chroma) for (i in 0 until plane.buffer.limit()) plane.buffer.put(i, -128)
    }

    private class FakePlane(private val rows: Int, private val pixels: Int, private val bytes: ByteBuffer) : Plane() {
        override fun getRowStride() = rows

        override fun getPixelStride() = pixels

        override fun getBuffer() = bytes
    }
}

@Implements(MediaCodec::class)
class FakeCodec {
    private var encoder = false
    private var started = false
    private lateinit var format: MediaFormat
    private val inputs = Array(2) { ByteBuffer.allocateDirect(ROOM) }
    private val free = ArrayDeque(listOf(0, 1))
    private val taken = mutableSetOf<Int>()
    private val waiting = ArrayDeque<Sample>()
    private val ready = ArrayDeque<Sample>()
    private val given = HashMap<Int, Sample>()
    private var told = false
    private var ended = false
    private var last = -1L
    private var count = 0
    private var asked = 0

    private fun size() = format.getInteger(MediaFormat.KEY_WIDTH) to format.getInteger(MediaFormat.KEY_HEIGHT)

    @Implementation
    fun configure(format: MediaFormat, surface: Surface?, crypto: android.media.MediaCrypto?, flags: Int) {
        check(!started)
        this.format = format
        encoder = flags and MediaCodec.CONFIGURE_FLAG_ENCODE != 0
        if (!encoder) Media.refusal?.let { throw it }
        if (encoder) {
            Media.encoderFormat = format
            val (width, height) = size()
            require(width > 0 && height > 0 && width % 2 == 0 && height % 2 == 0) { "an encoder of ${width}x$height" }
            for (key in listOf(MediaFormat.KEY_BIT_RATE, MediaFormat.KEY_FRAME_RATE, MediaFormat.KEY_I_FRAME_INTERVAL, MediaFormat.KEY_COLOR_FORMAT)) {
                require(format.containsKey(key)) { "an encoder without $key" }
            }
        }
    }

    @Implementation
    fun start() {
        started = true
        Media.open++
        if (encoder) ready += Sample(0, byteArrayOf(9), MediaCodec.BUFFER_FLAG_CODEC_CONFIG)
    }

    @Implementation
    fun dequeueInputBuffer(microseconds: Long): Int {
        check(started)
        if (encoder && microseconds == 0L && ++asked % 3 == 0) return MediaCodec.INFO_TRY_AGAIN_LATER // busy now and then
        val index = free.removeFirstOrNull() ?: return MediaCodec.INFO_TRY_AGAIN_LATER
        taken += index
        return index
    }

    @Implementation
    fun getInputBuffer(index: Int): ByteBuffer = inputs[index].also { check(index in taken) }

    @Implementation
    fun getInputImage(index: Int): Image {
        check(encoder && index in taken)
        return size().let { (width, height) -> FakeImage(width, height, inputs[index]) }
    }

    @Implementation
    fun queueInputBuffer(index: Int, offset: Int, size: Int, microseconds: Long, flags: Int) {
        check(taken.remove(index)) { "a buffer that was not taken" }
        check(!ended) { "more after the end" }
        check(size <= ROOM)
        ended = flags and MediaCodec.BUFFER_FLAG_END_OF_STREAM != 0
        if (encoder && size > 0) {
            check(microseconds > last) { "frames at $last and $microseconds" }
            last = microseconds
            Media.queued += microseconds
            if (count++ >= Media.failsAt) throw IllegalStateException("the encoder gave up")
            val (width, height) = size()
            val image = FakeImage(width, height, inputs[index])
            waiting += Sample(microseconds, byteArrayOf(image.brightness(0, 0), image.brightness(width - 1, 0), image.brightness(0, height - 1)))
        } else if (size > 0) {
            waiting += Sample(microseconds, ByteArray(1) { inputs[index].get(0) })
        }
        while (waiting.size > (if (ended) 0 else 1)) ready += waiting.removeFirst() // a frame behind, as codecs are
        if (ended && !(encoder && Media.endless)) ready += Sample(microseconds, ByteArray(0), MediaCodec.BUFFER_FLAG_END_OF_STREAM)
        free += index
    }

    @Implementation
    fun flush() {
        for (buffers in listOf(taken, waiting, ready)) buffers.clear()
        given.clear()
        free.clear()
        free += inputs.indices
        ended = false
    }

    @Implementation
    fun dequeueOutputBuffer(info: MediaCodec.BufferInfo, microseconds: Long): Int {
        if (!encoder) Media.decoderFails?.let { throw it }
        check(started)
        if (!told) {
            told = true
            return MediaCodec.INFO_OUTPUT_FORMAT_CHANGED
        }
        val sample = ready.removeFirstOrNull() ?: return MediaCodec.INFO_TRY_AGAIN_LATER
        val index = (0..9).first { it !in given }
        given[index] = sample
        info.set(0, sample.bytes.size, sample.microseconds, sample.flags)
        return index
    }

    @Implementation
    fun getOutputFormat(): MediaFormat = format

    @Implementation
    fun getOutputBuffer(index: Int): ByteBuffer = ByteBuffer.wrap(given.getValue(index).bytes)

    @Implementation
    fun getOutputImage(index: Int): Image {
        val level = given.getValue(index).bytes[0]
        return size().let { (width, height) -> FakeImage(width, height, ByteBuffer.allocateDirect(ROOM)).apply { paint(level) } }
    }

    @Implementation
    fun releaseOutputBuffer(index: Int, render: Boolean) {
        checkNotNull(given.remove(index)) { "released twice" }
    }

    @Implementation
    fun release() {
        if (started) Media.open--
        started = false
    }

    companion object {
        private const val ROOM = 1 shl 16

        @JvmStatic @Implementation
        fun createEncoderByType(type: String): MediaCodec = Shadow.newInstanceOf(MediaCodec::class.java)

        @JvmStatic @Implementation
        fun createDecoderByType(type: String): MediaCodec = Shadow.newInstanceOf(MediaCodec::class.java)
    }
}

@Implements(MediaExtractor::class)
class FakeExtractor {
    private var track: Track? = null
    private var at = 0

    @Implementation
    fun setDataSource(context: Context, uri: Uri, headers: Map<String, String>?) {
        if (Media.tracks.isEmpty()) throw IOException("no such file")
        Media.open++
    }

    @Implementation
    fun getTrackCount() = Media.tracks.size

    @Implementation
    fun getTrackFormat(index: Int): MediaFormat = Media.tracks[index].format

    @Implementation
    fun selectTrack(index: Int) {
        check(track == null) { "a second track would be mixed in" }
        track = Media.tracks[index]
    }

    @Implementation
    fun readSampleData(to: ByteBuffer, offset: Int): Int {
        val sample = track!!.samples.getOrNull(at) ?: return -1
        sample.bytes.forEachIndexed { i, byte -> to.put(offset + i, byte) }
        return sample.bytes.size
    }

    @Implementation
    fun getSampleTime() = track!!.samples.getOrNull(at)?.microseconds ?: -1L

    @Implementation
    fun advance() = ++at < track!!.samples.size

    @Implementation
    fun seekTo(microseconds: Long, mode: Int) {
        at = 0
    }

    @Implementation
    fun release() {
        Media.open--
    }
}

@Implements(MediaMuxer::class)
class FakeMuxer {
    private lateinit var file: File
    private val tracks = mutableListOf<Track>()
    private var state = 0 // made, started, stopped

    @Implementation
    fun __constructor__(path: String, format: Int) {
        file = File(path).apply { writeText("a part") }
        Media.open++
    }

    @Implementation
    fun addTrack(format: MediaFormat): Int {
        check(state == 0) { "a track after the start" }
        tracks += Track(format)
        return tracks.size - 1
    }

    @Implementation
    fun start() {
        check(state == 0 && tracks.isNotEmpty())
        state = 1
    }

    @Implementation
    fun writeSampleData(track: Int, bytes: ByteBuffer, info: MediaCodec.BufferInfo) {
        check(state == 1) { "a sample before the start or after the stop" }
        val samples = tracks[track].samples
        check(samples.isEmpty() || samples.last().microseconds < info.presentationTimeUs) { "samples at ${samples.last().microseconds} and ${info.presentationTimeUs}" }
        check(info.flags and MediaCodec.BUFFER_FLAG_CODEC_CONFIG == 0)
        samples += Sample(info.presentationTimeUs, ByteArray(info.size) { bytes.get(info.offset + it) }, info.flags)
    }

    @Implementation
    fun stop() {
        check(state == 1 && tracks.all { it.samples.isNotEmpty() }) { "Failed to stop the muxer" }
        state = 2
        file.writeText("whole")
        Media.written = tracks
        Media.stopped++
    }

    @Implementation
    fun release() {
        Media.open--
    }
}
