package pocketseg.demo

import android.content.Context
import android.graphics.BitmapFactory
import android.media.ExifInterface
import android.media.MediaCodec
import android.media.MediaCodecInfo
import android.media.MediaExtractor
import android.media.MediaFormat
import android.net.Uri
import pocketseg.live.Background
import pocketseg.live.FrameSource
import pocketseg.live.Latest
import pocketseg.pixels.Grid
import pocketseg.pixels.Orientation
import pocketseg.pixels.Size
import pocketseg.pixels.Turn
import pocketseg.pixels.YuvColours
import pocketseg.pixels.YuvLayout
import pocketseg.pixels.placement
import pocketseg.pixels.sampleArgb
import java.io.IOException

private class StoredPhoto(val pixels: IntArray, val size: Size, val orientation: Orientation)

/** Decodes a photo to about [side] pixels, not yet turned. Throws [IOException] for what is none. */
private fun readPhoto(context: Context, uri: Uri, side: Int): StoredPhoto {
    fun <T> read(action: (java.io.InputStream) -> T): T =
        (context.contentResolver.openInputStream(uri) ?: throw IOException("the file is gone")).use(action)
    val options = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    read { BitmapFactory.decodeStream(it, null, options) }
    options.inSampleSize = maxOf(1, maxOf(options.outWidth, options.outHeight) / side)
    options.inJustDecodeBounds = false
    val bitmap = read { BitmapFactory.decodeStream(it, null, options) } ?: throw IOException("it is no picture")
    val tag = read { ExifInterface(it).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1) }
    val size = Size(bitmap.width, bitmap.height)
    val pixels = IntArray(size.pixels)
    bitmap.getPixels(pixels, 0, size.width, 0, 0, size.width, size.height)
    bitmap.recycle()
    return StoredPhoto(pixels, size, Orientation.ofExif(tag))
}

/** An upright background picture. Throws [IOException] for what is none. */
fun readBackground(context: Context, uri: Uri): Background {
    val photo = readPhoto(context, uri, 1600)
    val size = photo.orientation.upright(photo.size)
    val pixels = IntArray(size.pixels)
    Grid(placement(photo.size, photo.orientation, null, size), photo.size, size).sampleArgb(photo.pixels, pixels)
    return Background(pixels, size)
}

/** A photo from the gallery, delivered once. */
class PhotoSource(private val context: Context, private val uri: Uri) : FrameSource {
    private var thread: Thread? = null
    @Volatile private var stopped = false

    override fun start(frames: Latest, failed: (String) -> Unit) {
        thread = Thread({
            try {
                val photo = readPhoto(context, uri, 1600)
                frames.back.photo(photo.pixels, photo.size, photo.orientation)
                if (!stopped) frames.publish()
            } catch (error: IOException) {
                failed("The photo cannot be shown: ${error.message}")
            } catch (error: SecurityException) {
                failed("The photo may no longer be read. Choose it again.")
            }
        }, "photo").apply { start() }
    }

    override fun stop() {
        stopped = true
        thread?.join(2000)
    }
}

/** A video file, decoded at its own speed, over and over. */
class VideoSource(private val context: Context, private val uri: Uri) : FrameSource {
    private var thread: Thread? = null
    @Volatile private var stopped = false

    override fun start(frames: Latest, failed: (String) -> Unit) {
        thread = Thread({
            val extractor = MediaExtractor()
            var codec: MediaCodec? = null
            try {
                extractor.setDataSource(context, uri, null)
                val track = (0 until extractor.trackCount).firstOrNull {
                    extractor.getTrackFormat(it).getString(MediaFormat.KEY_MIME)!!.startsWith("video/")
                } ?: throw IOException("it holds no video")
                extractor.selectTrack(track)
                val format = extractor.getTrackFormat(track)
                format.setInteger(MediaFormat.KEY_COLOR_FORMAT, MediaCodecInfo.CodecCapabilities.COLOR_FormatYUV420Flexible)
                codec = MediaCodec.createDecoderByType(format.getString(MediaFormat.KEY_MIME)!!)
                codec.configure(format, null, null, 0)
                codec.start()
                play(extractor, codec, format, frames)
            } catch (_: InterruptedException) { // stop()
            } catch (error: IOException) {
                failed("The video cannot be played: ${error.message}")
            } catch (error: IllegalStateException) { // a codec's error is one
                failed("The video cannot be decoded on this phone: ${error.message}")
            } catch (error: SecurityException) {
                failed("The video may no longer be read. Choose it again.")
            } finally {
                codec?.release()
                extractor.release()
            }
        }, "video").apply { start() }
    }

    private fun play(extractor: MediaExtractor, codec: MediaCodec, format: MediaFormat, frames: Latest) {
        val orientation = Orientation(Turn.of(if (format.containsKey(MediaFormat.KEY_ROTATION)) format.getInteger(MediaFormat.KEY_ROTATION) else 0))
        val info = MediaCodec.BufferInfo()
        var layout: YuvLayout? = null
        var started = System.nanoTime()
        var ended = false
        while (!stopped) {
            val free = if (ended) -1 else codec.dequeueInputBuffer(0)
            if (free >= 0) {
                val bytes = extractor.readSampleData(codec.getInputBuffer(free)!!, 0)
                ended = bytes < 0
                codec.queueInputBuffer(free, 0, maxOf(bytes, 0), maxOf(extractor.sampleTime, 0), if (ended) MediaCodec.BUFFER_FLAG_END_OF_STREAM else 0)
                extractor.advance()
            }
            val done = codec.dequeueOutputBuffer(info, 10_000)
            if (done < 0) continue
            val early = started + info.presentationTimeUs * 1000 - System.nanoTime()
            if (early > 0) Thread.sleep(early / 1_000_000)
            val image = codec.getOutputImage(done)
            if (image != null && info.size > 0) {
                layout = frames.back.copy(image, layout, orientation, colours(codec.outputFormat))
                image.close()
                if (!stopped) frames.publish()
            }
            codec.releaseOutputBuffer(done, false)
            if (info.flags and MediaCodec.BUFFER_FLAG_END_OF_STREAM != 0) {
                extractor.seekTo(0, MediaExtractor.SEEK_TO_CLOSEST_SYNC)
                codec.flush()
                ended = false
                started = System.nanoTime()
            }
        }
    }

    private fun colours(format: MediaFormat): YuvColours {
        val full = format.containsKey(MediaFormat.KEY_COLOR_RANGE) && format.getInteger(MediaFormat.KEY_COLOR_RANGE) == MediaFormat.COLOR_RANGE_FULL
        val small = if (format.containsKey(MediaFormat.KEY_COLOR_STANDARD)) format.getInteger(MediaFormat.KEY_COLOR_STANDARD) != MediaFormat.COLOR_STANDARD_BT709
        else format.getInteger(MediaFormat.KEY_HEIGHT) < 720
        return if (full) YuvColours.FULL_601 else if (small) YuvColours.LIMITED_601 else YuvColours.LIMITED_709
    }

    override fun stop() {
        stopped = true
        thread?.interrupt()
        thread?.join(2000)
    }
}
